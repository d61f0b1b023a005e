-- When the gate last looked at a challenger and decided nothing: it was refused on the same facts before, or a hand chose
-- another version. Before `set_at` it is about the challenger before.

alter table model_alias add column settled_at timestamptz;
