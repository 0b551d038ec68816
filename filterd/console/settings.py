"""A configuration as it may be looked at: without what opens a door."""

import re
from typing import Any, Final

HIDDEN: Final = "(hidden)"
_SECRET: Final = re.compile(r"password|secret|token|key", re.IGNORECASE)
_IN_URL: Final = re.compile(r"(://[^:/@\s]*:)[^@/\s]*@")


def shown(value: Any, name: str = "") -> Any:
    """The same with secrets hidden: values of keys that sound like one, less files, and passwords in URLs."""
    if isinstance(value, dict):
        return {key: shown(below, str(key)) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [shown(one, name) for one in value]
    if isinstance(value, str):
        secret = _SECRET.search(name) and not name.endswith(("_file", "_header")) and value
        return HIDDEN if secret else _IN_URL.sub(rf"\1{HIDDEN}@", value)
    return value
