"""The graph that OpenLineage events draw: datasets, jobs and runs, and what flowed between them."""
