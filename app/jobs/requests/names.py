"""Names that clients and libraries give to documents and images. They are passed on, and never become paths."""

LONGEST_NAME = 200


def explain_name(name: str) -> str:
    """Return why a name cannot be used, or "" when it can: ``is a path``."""
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"has more than {LONGEST_NAME} characters"
    if not name.isprintable():
        return "has characters that cannot be printed"
    if "/" in name or "\\" in name or name in (".", ".."):
        return "is a path"
    return "has a space at an end" if name != name.strip() else ""


def show_name(name: str) -> str:
    """Return a name as it may stand in a sentence, its beginning when it is long."""
    shown = name if len(name) <= 60 else name[:60] + "…"
    return repr(shown) if shown.isprintable() else ascii(shown)
