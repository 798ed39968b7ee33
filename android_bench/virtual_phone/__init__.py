"""A phone without a phone: a daemon on loopback that speaks the genuine wire protocol of the Android Debug Bridge.

    daemon    listens on 127.0.0.1; one session for each client
    session   one client: greeting, authentication, streams
    services  what a stream can be opened for: shell, exec, sync
    shell     how commands are run: the part that a virtual phone brings
    files     the phone's files, below one folder of this computer

Each knows only those below it.
"""
