"""A collection, as people have it: a folder of pictures for each entity and a table of facts; made into a data set."""

from mmunlearner.data.collection.start import Beginning, Request, start

__all__ = ["Beginning", "Request", "start"]
