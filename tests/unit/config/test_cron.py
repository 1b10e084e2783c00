"""Weekdays as crontab(5) counts them: 0 and 7 are Sunday."""

from __future__ import annotations

import datetime as dt

import pytest
from apscheduler.triggers.cron import CronTrigger

from config.cron import by_weekday_names, fires


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("0 6 * * *", "0 6 * * *"),
        ("0 6 * * 1", "0 6 * * mon"),
        ("0 6 * * 0", "0 6 * * sun"),
        ("0 6 * * 7", "0 6 * * sun"),
        ("0 6 * * 1-5", "0 6 * * mon,tue,wed,thu,fri"),
        ("0 6 * * FRI-mon", "0 6 * * fri,sat,sun,mon"),
        ("0 6 * * 5-7", "0 6 * * fri,sat,sun"),
        ("0 6 * * */2", "0 6 * * sun,tue,thu,sat"),
        ("0 6 * * 1,3", "0 6 * * mon,wed"),
    ],
)
def test_weekdays_are_written_out_by_name(line, named):
    assert by_weekday_names(line) == named


@pytest.mark.parametrize("line", ["", "* * *", "0 6 * * 8", "0 6 * * mo", "0 6 * * 1-", "0 6 * * 1/0"])
def test_what_is_no_cron_line_is_refused(line):
    with pytest.raises(ValueError, match=r"."):
        by_weekday_names(line)


def test_monday_is_monday():
    trigger = CronTrigger.from_crontab(by_weekday_names("0 6 * * 1"), timezone="UTC")
    following = trigger.get_next_fire_time(None, dt.datetime(2026, 11, 24, tzinfo=dt.UTC))
    assert following.strftime("%a") == "Mon"


def test_a_day_that_never_comes_does_not_fire():
    assert fires("0 0 1 1 *")
    assert not fires("0 0 30 2 *")
