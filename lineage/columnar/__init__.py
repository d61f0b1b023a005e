"""Column lineage, read from the plan that Polars makes of a query."""
