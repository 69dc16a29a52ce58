"""The embedded benchmark: invented people, and questions about them."""

from mmunlearner.data.benchmarks.people.build import prepare

__all__ = ["prepare"]
