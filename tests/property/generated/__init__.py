"""Generated tariffs and histories, and what must hold for every one of them (docs: CONTRIBUTING.md, "Generated cases")."""
