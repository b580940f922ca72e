"""The demo's buyers: who they are and what they ask for when (`demand.py`)."""
