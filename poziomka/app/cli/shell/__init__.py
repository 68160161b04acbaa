"""Parts of the command line that face the shell: types of arguments, progress messages, completion scripts."""
