"""The control database of the HTTP API: its tables, how it is opened, and how its schema came to be."""
