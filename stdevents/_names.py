"""`event_list`: the names of a source's events as attributes, so that a typo is an error."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, NoReturn

#: as it was imported, or vendored under another name. Not by __package__: before Python 3.10 a
#: module in a zip has it only after it has run.
PACKAGE = __name__.rpartition(".")[0]

#: the source of the events by which a bus tells of itself
OF_THE_BUS = "stdevents"


def text_of(value: str) -> str:
    """The text that a str is. `str(value)` is what its class says: of an enum, the member's name.

    So what was checked would not be what is used, and equal keys would be two.
    """
    return str.__str__(value)


def check_text(what: str, name: Any) -> str:
    """The text of a name; TypeError or ValueError unless it is a string with something in it."""
    if not isinstance(name, str):
        raise TypeError(f"{what}: {name!r} is not a str")
    text = text_of(name)
    if not text:
        raise ValueError(f"{what}: it is empty; give it a name")
    return text


def check_names(source: Any, event: Any) -> tuple[str, str]:
    """The texts of both; TypeError or ValueError unless they have something in them."""
    return check_text("source", source), check_text("event", event)


def check_events(source: Any, events: tuple[Any, ...]) -> tuple[str, ...]:
    """Their texts; TypeError or ValueError unless they can be events of the source, one by one."""
    for event in events:
        if isinstance(event, (list, tuple, set, frozenset)):
            some = ", ".join(map(repr, event)) or "'drop', 'refresh'"
            raise TypeError(
                f"event: {event!r} is a {type(event).__name__}, not a str; "
                f"give the events one after the other: {source!r}, {some}"
            )
    return tuple([check_names(source, event)[1] for event in events])


class EventList:
    """What `event_list` returns: `names.drop == "drop"`, and `names._source`; read-only."""

    _source: str

    def __init__(self, source: str, events: tuple[str, ...]) -> None:
        vars(self).update({event: event for event in events}, _source=source)

    def __getattr__(self, name: str) -> str:
        # Only reached for what is not there; copy and pickle probe for special names.
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"source {self._source!r} has no event {name!r}; it has: {', '.join(self)}"
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"the events of source {self._source!r} are fixed: {', '.join(self)}")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __iter__(self) -> Iterator[str]:
        return (name for name in vars(self) if name != "_source")

    def __repr__(self) -> str:
        return f"event_list({', '.join(map(repr, (self._source, *self)))})"


def event_list(source: str, *events: str) -> EventList:
    """Name a source and its events once, and refer to them as attributes.

    >>> cache = event_list("cache", "drop", "refresh")
    >>> cache._source, cache.drop
    ('cache', 'drop')

    A name that is not in the list raises AttributeError, which lists those that are. Iterating
    gives the names. TypeError for a name that is not a str; ValueError for one that is empty,
    starts with an underscore, or stands there twice.
    """
    source, events = check_text("source", source), check_events(source, events)
    for event in events:
        if event.startswith("_"):
            raise ValueError(
                f"event_list: event {event!r} starts with an underscore, "
                "which is kept for _source and the like; name it otherwise"
            )
        if events.count(event) > 1:
            raise ValueError(f"event_list: event {event!r} is named twice")
    return EventList(source, events)
