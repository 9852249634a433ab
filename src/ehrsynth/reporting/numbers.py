"""How numbers are written in every report."""

DASH, MINUS, TIMES = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
ROUNDING = 1e-12  # what is left of a zero after floating-point sums


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with so many significant digits, in raw units; a dash for None."""
    if value is None:
        return DASH
    if abs(value) < ROUNDING:
        value = 0.0
    if value and not 1e-4 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}{TIMES}10{str(int(exponent)).translate(SUPERSCRIPT)}"
    else:
        text = f"{value:#.{digits}g}".rstrip(".") if 0 < abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", MINUS)


def interval(ci: tuple[float, float] | None) -> str:
    """Return a 95 % interval as text; a dash for None."""
    return f"{number(ci[0])} to {number(ci[1])}" if ci else DASH
