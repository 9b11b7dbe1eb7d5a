"""Seeded inputs that tests and bench share."""
