"""What a run folder says, as a table, a picture and a page. Reads files; never imports torch."""
