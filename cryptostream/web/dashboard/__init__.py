"""The dashboard: one page per question, fed by the same probes as the API. Needs the extra `dashboard` (NiceGUI)."""
