"""The report page of runs: one HTML file that needs no server and no network, with a replay of sessions."""
