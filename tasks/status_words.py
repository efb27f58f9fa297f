"""Words of the status page in its languages."""

from __future__ import annotations

from model.communication import Language

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "title": "status",
        "works": "Works",
        "disrupted": "Disrupted",
        "by hand": "May still be disrupted: people go on by hand",
        "now": "At present",
        "written": "Written",
        "next": "Next update by",
        "old": "If that has passed, this page is out of date.",
        "open": "Going on",
        "past": "Past incidents",
        "none": "No incident in the last {days} days.",
        "level": "level",
        "began": "since",
        "over": "over",
        "ended": "ended, not restored",
        "feed": "Subscribe (RSS)",
    },
    "zh": {
        "title": "服务状态",
        "works": "正常",
        "disrupted": "受影响",
        "by hand": "可能仍受影响：正在人工处理",
        "now": "目前",
        "written": "更新时间",
        "next": "下次更新不迟于",
        "old": "如已超过该时间，则本页面信息已过时。",
        "open": "进行中",
        "past": "历史事件",
        "none": "最近 {days} 天内没有事件。",
        "level": "级别",
        "began": "开始于",
        "over": "已恢复",
        "ended": "已结束，服务未恢复",
        "feed": "订阅（RSS）",
    },
}
