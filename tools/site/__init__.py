"""Site of the documentation: pages, reference of the Python API, and the report of a finished run."""
