"""Medians, geometric means and tables of two servers side by side."""
import math
import statistics


def median(values):
    return statistics.median(values) if values else None


def geometric_mean(values):
    values = [value for value in values if value and value > 0]
    if not values:
        return None
    return math.exp(sum(math.log(value) for value in values) / len(values))


def ratio(a, b):
    return a / b if a and b else None


def short(value):
    """812, 40.3k, 1.25M."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    if value >= 1e4:
        return f"{value / 1e3:.1f}k"
    return f"{value:.0f}"


def spread(values):
    if not values:
        return "-"
    if len(values) == 1:
        return short(values[0])
    return f"{short(median(values))} ({short(min(values))}-{short(max(values))})"


def fixed(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def spread_fixed(values, digits=2):
    """As spread, with so many digits."""
    if len(values) < 2:
        return fixed(median(values), digits)
    low, high = fixed(min(values), digits), fixed(max(values), digits)
    return f"{fixed(median(values), digits)} ({low}-{high})"


def table(rows, heading):
    """Lines of a table with the first column to the left, the others to the right."""
    cells = [heading] + rows
    widths = [max(len(row[i]) for row in cells) for i in range(len(heading))]
    lines = []
    for number, row in enumerate(cells):
        first = row[0].ljust(widths[0])
        lines.append("  ".join([first] + [row[i].rjust(widths[i]) for i in range(1, len(row))]))
        if number == 0:
            lines.append("-" * len(lines[0]))
    return lines
