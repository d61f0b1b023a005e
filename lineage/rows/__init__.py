"""How rows are followed while a step computes, and what is written of it beside the table."""
