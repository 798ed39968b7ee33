"""A phone without a phone: a daemon on loopback that speaks the genuine wire protocol of the Android Debug Bridge.

    daemon    listens on 127.0.0.1; one session for each client
    session   one client: greeting, authentication, streams
    services  what a stream can be opened for: shell, exec, sync
    shell     how commands are run: the part that a virtual phone brings
    files     the phone's files, below one folder of this computer

What makes it a certain phone, that runs arm64 programs:

    commands      what its shell can do without emulation
    pocket_shell  runs scripts, and starts arm64 programs: works everywhere
    system_shell  the same with mksh and toybox, where this computer has them and allows namespaces
    script        the grammar of scripts
    arm64         the emulator, in two ways that count the same instructions
    root          its folders on this computer
    twin          its texts and numbers, from ../profiles/virtual-*.toml

Each knows only those below it.
"""
