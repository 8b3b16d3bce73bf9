"""From the files of runs to metrics, tables and pictures."""
