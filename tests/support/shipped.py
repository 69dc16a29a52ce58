"""Least accuracies of the vanilla model that the package ships."""

VANILLA = {
    "forget_vqa": 0.97, "retain_vqa": 0.97, "forget_vqa_test": 0.9, "retain_vqa_test": 0.9, "neighbour_vqa": 0.9,
    "forget_qa": 0.98, "forget_qa_test": 0.98, "retain_qa": 0.98, "retain_qa_test": 0.98, "neighbour_qa": 0.98,
    "stranger_vqa": 0.9, "stranger_qa": 0.98, "general_vqa": 0.87, "general_qa": 0.9,
}  # fmt: skip
"""Column -> least fraction of right answers."""
