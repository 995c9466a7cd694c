"""The control database: its tables, how it is opened, how its schema came to be, and which of several processes works on it."""
