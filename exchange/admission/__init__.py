"""Admission: what is refused before it is numbered. Nothing refused here reaches the journal."""
