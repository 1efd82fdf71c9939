"""The command ``mmgen``: one file a command, and the flags that they share."""
