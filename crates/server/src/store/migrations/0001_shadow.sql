
-- What each device was last heard to be, and should be. `name` is empty for the classic shadow. A value stands in its
-- section as a pair with its time, in seconds. Rows are wide, so they have a number of their own and the name is an index.
-- A deleted shadow leaves its version, without sections; a device need not be known to have a shadow.
CREATE TABLE shadow (
    number   INTEGER PRIMARY KEY,
    device   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    desired  TEXT,
    reported TEXT,
    deleted  INTEGER,
    UNIQUE (device, name),
    CHECK ((deleted IS NULL) = (desired IS NOT NULL)),
    CHECK ((deleted IS NULL) = (reported IS NOT NULL))
) STRICT;
