-- Most events are submissions, and are read by their place among their like; the rest must be found without reading these.
CREATE INDEX events_by_name ON events (name, block, log_index);
