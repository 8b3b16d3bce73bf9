"""A trained agent that serves people: sessions, their stores, and an HTTP server."""
