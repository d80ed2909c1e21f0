"""aiocoap's file server, as it comes: `fileserver.py --bind HOST:PORT FOLDER`."""

from aiocoap.cli.fileserver import FileServerProgram

FileServerProgram.sync_main()
