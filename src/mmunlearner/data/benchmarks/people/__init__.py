"""The embedded benchmark: invented people, what is asked about them, and a tiny model that knows them."""

from mmunlearner.data.benchmarks.people.export import prepare

__all__ = ["prepare"]
