"""The stand-alone process gpuredux-stream: source -> compute -> sink, with an account of every event. The data's path is the file list:
config, source, event, slot, pipeline, runner, sink, part, journal, verify, monitor, session, cli."""
