"""Cron lines mean what crontab(5) says: weekday 0 and 7 are Sunday.

APScheduler 3 counts weekdays from Monday (its issue 286), so "0 6 * * 1" would fire on Tuesday. Loading writes
weekdays out by name, which both read alike.
"""

from __future__ import annotations

import datetime as dt
import re

from apscheduler.triggers.cron import CronTrigger

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY = r"([0-7]|sun|mon|tue|wed|thu|fri|sat)"
_RANGE = re.compile(rf"(?:\*|{_DAY}(?:-{_DAY})?)(?:/(\d{{1,2}}))?", re.IGNORECASE)


def by_weekday_names(line: str) -> str:
    """The line with weekdays by name: "0 6 * * 1-5" gives "0 6 * * mon,tue,wed,thu,fri".

    Raises:
        ValueError: it has not five parts, or its weekdays are none.
    """
    parts = line.split()
    if len(parts) != 5:
        raise ValueError("a cron line has five parts")
    if parts[4] != "*":
        days = [day for part in parts[4].split(",") for day in _days(part)]
        parts[4] = ",".join(dict.fromkeys(days))
    return " ".join(parts)


def fires(line: str) -> bool:
    """Whether there is a next time. Raises ValueError when it is no cron line."""
    trigger = CronTrigger.from_crontab(by_weekday_names(line))
    return trigger.get_next_fire_time(None, dt.datetime.now(dt.UTC).astimezone()) is not None


def _days(part: str) -> list[str]:
    found = _RANGE.fullmatch(part)
    if found is None:
        raise ValueError("a part of the weekdays is none")
    first, last, step = found.groups()
    start = 0 if first is None else _number(first)
    end = 6 if first is None else _number(last or first)
    if first is not None and last is None and step is not None:
        end = 6
    if end < start:
        end += 7  # fri-mon goes over the end of the week; so does 5-0
    if step is not None and int(step) == 0:
        raise ValueError("a step of nothing")
    return [_DAYS[day % 7] for day in range(start, end + 1, int(step or 1))]


def _number(day: str) -> int:
    return int(day) if day.isdigit() else _DAYS.index(day.lower())
