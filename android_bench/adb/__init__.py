"""Phones over the Android Debug Bridge: its wire format, two transports, and the phone as a `Device`.

    wire      packets, shell-v2 frames, sync requests      (also read by `android_bench.virtual_phone`)
    keys      this computer's RSA keys
    streams   what a transport is: connections and streams with a deadline
    direct    straight to the phone, TCP or USB, with adb-shell
    server    through a running adb server
    services  commands and files over a stream
    texts     what a phone prints, parsed
    phone     all of it as a `Device`
    lock      one process at a time on a phone
    choose    which phone, which transport

Each knows only those above it, and `direct` and `server` not each other.
"""
