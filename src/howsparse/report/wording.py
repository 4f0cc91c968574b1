"""Numbers in words: one way to print each kind of number."""

import math

UNDEFINED = "undefined"


def number(value: float | None) -> str:
    """A measured number with four decimals, fewer when it is large, more when it is tiny.

    Example:
        >>> number(0.90277), number(-31.41592), number(1234.5), number(0.0000123), number(None)
        ('0.9028', '−31.4159', '1,234.50', '1.23e-05', 'undefined')
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    digits = ".3g" if 0 < abs(value) < 1e-3 else ",.2f" if abs(value) >= 100 else ".4f"
    text = format(value, digits)
    return text.replace("-", "−") if value < 0 else text


def difference(value: float) -> str:
    """A difference, with its sign.

    Example:
        >>> difference(0.0028), difference(-0.01), difference(0.0)
        ('+0.0028', '−0.0100', '±0.0000')
    """
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return sign + number(abs(value))


def sparsity(value: float) -> str:
    """A fraction removed: four decimals, six when less than a thousandth is left.

    Example:
        >>> sparsity(0.9), sparsity(0.99975), sparsity(1.0)
        ('0.9000', '0.999750', '1.0000')
    """
    return f"{value:.6f}" if 0.999 < value < 1 else f"{value:.4f}"


def count(value: int, noun: str | None = None) -> str:
    """A count with thousands marked, and its noun.

    Example:
        >>> count(43520), count(1, "epoch"), count(2, "cycle")
        ('43,520', '1 epoch', '2 cycles')
    """
    return f"{value:,}" if noun is None else f"{value:,} {noun}{'' if value == 1 else 's'}"


def short(value: int, unit: str = "") -> str:
    """A large number in about three digits, with a unit.

    Example:
        >>> short(950, "B"), short(40813184), short(1820000), short(999_700, "B")
        ('950 B', '40.8 M', '1.82 M', '1000 kB')
    """
    letter, scaled = "", float(value)
    for letter_of, scale in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if value >= scale:
            letter, scaled = letter_of, value / scale
    digits = 0 if scaled >= 100 or not letter else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {letter}{unit}".strip()


def ratio(before: int, after: int) -> str:
    """How much smaller or larger something became.

    Example:
        >>> ratio(100, 25), ratio(300, 12), ratio(100, 103), ratio(5, 5)
        ('4.00 times smaller', '25.0 times smaller', '1.03 times larger', 'the same')
    """
    if before == after:
        return "the same"
    larger, smaller = max(before, after), max(min(before, after), 1)
    digits = 1 if larger >= 10 * smaller else 2
    return f"{larger / smaller:.{digits}f} times {'smaller' if after < before else 'larger'}"


def duration(seconds: float) -> str:
    """A time span.

    Example:
        >>> duration(2.98), duration(754), duration(12100)
        ('3.0 s', '12 min 34 s', '3 h 22 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def sentence(text: str) -> str:
    """The text with its first letter large.

    Example:
        >>> sentence("turning point not reached")
        'Turning point not reached'
    """
    return text[:1].upper() + text[1:]
