"""Words of messages and of the status page in the languages of an audience."""

from __future__ import annotations

from model.communication import Language
from model.incident import Kind
from model.outcome import Gate

MARKS: dict[Language, dict[Kind, str]] = {
    "en": {Kind.DRILL: "[DRILL – NOT REAL]", Kind.VERIFICATION: "[VERIFICATION – NOT REAL]"},
    "zh": {Kind.DRILL: "【演练 – 非真实事件】", Kind.VERIFICATION: "【验证 – 非真实事件】"},
}
"""The unmistakable mark of what is not real (G12); a real incident has none."""

DEGREES: dict[Language, tuple[str, ...]] = {
    "en": ("no", "slight", "serious", "total"), "zh": ("无", "轻微", "严重", "完全"),
}  # fmt: skip
SCOPES: dict[Language, tuple[str, ...]] = {
    "en": ("", "a part of the service is", "the whole service is", "several services are"),
    "zh": ("", "服务的一部分", "整个服务", "多项服务"),
}

DECISIONS: dict[Language, dict[bool, str]] = {
    "en": {True: "the repair was approved", False: "the repair was not approved"},
    "zh": {True: "修复方案已获批准", False: "修复方案未获批准"},
}

STEPS: dict[Language, dict[str, str]] = {
    "en": {
        "confirm": "finding out what is damaged", "decide": "preparing the repair",
        "sign": "waiting for the decision on the repair", "preserve": "securing evidence and the present state",
        "repair": "repairing", "restore": "restoring data", "verify": "checking the repair",
        "accept": "testing the service", "acceptance": "waiting for the acceptance of the repair",
        "roll_back": "undoing the repair", "close": "ending the incident", "review": "writing the report",
        "over": "the incident has ended",
    },
    "zh": {
        "confirm": "正在查明损坏情况", "decide": "正在制定修复方案", "sign": "等待对修复方案的决定",
        "preserve": "正在保全证据和现状", "repair": "正在修复", "restore": "正在恢复数据", "verify": "正在检验修复结果",
        "accept": "正在测试服务", "acceptance": "等待验收", "roll_back": "正在撤销修复", "close": "正在结束事件",
        "review": "正在编写报告", "over": "事件已结束",
    },
}  # fmt: skip
"""What goes on, by the next step of the journal."""

GATES: dict[Language, dict[Gate, str]] = {
    "en": {
        Gate.DECIDE: "the decision on the repair", Gate.ACCEPT: "the acceptance of the repair",
        Gate.BREAK_GLASS: "the decision to follow a changed plan", Gate.PUBLISH: "the new version of the plan",
    },
    "zh": {
        Gate.DECIDE: "修复方案的决定", Gate.ACCEPT: "修复结果的验收", Gate.BREAK_GLASS: "按已更改预案执行的决定",
        Gate.PUBLISH: "预案新版本",
    },
}  # fmt: skip
AT_DEADLINE: dict[Language, dict[str, str]] = {
    "en": {
        "hold": "it goes on waiting", "deny": "it counts as denied", "roll_back": "everything is rolled back",
        "proceed": "it counts as accepted",
    },
    "zh": {"hold": "继续等待", "deny": "视为否决", "roll_back": "全部撤销", "proceed": "视为验收通过"},
}  # fmt: skip
"""What happens at a gate's deadline."""

DETAILS: dict[Language, str] = {"en": "For the emergency organisation", "zh": "应急组织内部信息"}
"""Heads what an audience without `details` is not told."""


def duration_words(seconds: float, language: Language) -> str:
    """A duration in whole minutes or hours."""
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    if language == "zh":
        return f"{hours} 小时 {rest} 分钟" if hours and rest else f"{hours} 小时" if hours else f"{rest} 分钟"
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{rest} min"
