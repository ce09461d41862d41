"""The dashboard: one page per question, fed by the same probes as the API. Needs the extra `dashboard` (NiceGUI).

What changes on a page is sent as differences, at most four times a second, and is put in as text, never as HTML.
"""

MOUNTED = "/dashboard"
"""Where the pages are; without a slash at its end."""
