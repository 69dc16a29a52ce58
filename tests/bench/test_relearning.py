"""The table and the picture of relearning, from records of attacks."""

from __future__ import annotations

from bench.relearning import plot, table

POINTS = [(0, 0.0, 0.1), (4, 0.5, 0.2), (8, 1.0, 0.4)]


def attack(model: str, name: str, rate: float = 3e-4):
    points = [
        {"step": s, "learned": {"forget_vqa": a}, "others": {"forget_vqa": b, "forget_vqa_test": b / 2}}
        for s, a, b in POINTS
    ]
    return {"model": model, "fold": "12a", "attack": name, "rate": rate, "points": points}


def test_table_and_picture_have_every_model():
    halves = [attack(model, f"{half} half") for model in ("oracle", "ours") for half in ("first", "second")]
    records = [*halves, attack("ours", "retained alone"), attack("ours", "4 bits", 0.0)]
    *_, oracle, ours = table(records).splitlines()
    assert oracle == "| oracle | 0.0003 | 10 / 5 | 2.8: 17 / 8 | 5.6: 28 / 14 | 7.8: 39 / 19 | - | - |"
    assert ours == oracle.replace("oracle", "ours").replace("| - | - |", "| 40 / 20 | 40 / 20 |")
    assert plot(records, "12a").count("<path") > 8
