-- The fleet. Times are milliseconds since 1970. IDs are text throughout: a row can be read without another table.

-- One row per device, narrow: it changes with every start and every update of the device.
CREATE TABLE device (
    number     INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    product    TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    boot       INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    changed    INTEGER NOT NULL
) STRICT;
CREATE INDEX device_product ON device (product, id);
CREATE INDEX device_version ON device (product, version, id);

-- What it said of itself, a JSON object: wide, and written only when it is different.
CREATE TABLE device_document (
    number     INTEGER PRIMARY KEY REFERENCES device (number) ON DELETE CASCADE,
    attributes TEXT    NOT NULL
) STRICT;

-- `precedence` is the version without build metadata: within a product it is there once.
CREATE TABLE release (
    product    TEXT    NOT NULL,
    precedence TEXT    NOT NULL,
    version    TEXT    NOT NULL,
    policy     TEXT    NOT NULL,
    sha256     TEXT    NOT NULL,
    md5        TEXT    NOT NULL,
    size       INTEGER NOT NULL,
    attributes TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    PRIMARY KEY (product, precedence)
) STRICT, WITHOUT ROWID;

-- It brings a release, or a task: a JSON object.
CREATE TABLE rollout (
    id           TEXT    PRIMARY KEY,
    product      TEXT,
    version      TEXT,
    task         TEXT,
    plan         TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    state_since  INTEGER NOT NULL,
    state_note   TEXT    NOT NULL,
    created      INTEGER NOT NULL,
    survey_at    INTEGER,
    survey_due   INTEGER,
    retry_before INTEGER,
    retired      INTEGER,
    CHECK ((survey_at IS NULL) = (survey_due IS NULL)),
    CHECK ((product IS NULL) = (version IS NULL) AND (product IS NULL) <> (task IS NULL))
) STRICT, WITHOUT ROWID;

-- One row per device and rollout: the latest attempt.
CREATE TABLE execution (
    device         TEXT    NOT NULL REFERENCES device (id),
    rollout        TEXT    NOT NULL REFERENCES rollout (id),
    attempt        INTEGER NOT NULL,
    state          TEXT    NOT NULL,
    reason         TEXT,
    from_version   TEXT    NOT NULL,
    boot           INTEGER NOT NULL,
    offers         INTEGER NOT NULL,
    downloads      INTEGER NOT NULL,
    percent        INTEGER,
    detail         TEXT    NOT NULL,
    opened         INTEGER NOT NULL,
    changed        INTEGER NOT NULL,
    deadline       INTEGER NOT NULL,
    unchanged_seen INTEGER NOT NULL,
    late           INTEGER NOT NULL,
    is_task        INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    details        TEXT    NOT NULL,
    started        INTEGER,
    step_deadline  INTEGER,
    earlier_failures INTEGER NOT NULL,
    earlier_timeouts INTEGER NOT NULL,
    retired        TEXT    NOT NULL,
    open           INTEGER NOT NULL
        GENERATED ALWAYS AS (state IN ('queued', 'downloading', 'downloaded', 'installing', 'rebooting')) VIRTUAL,
    PRIMARY KEY (device, rollout),
    CHECK ((state = 'failed') = (reason IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX execution_open ON execution (device) WHERE open AND NOT is_task;
CREATE INDEX execution_deadline ON execution (deadline, device) WHERE open;
CREATE INDEX execution_open_in ON execution (rollout, device) WHERE open;
CREATE INDEX execution_state ON execution (rollout, state, device);

-- How each execution came to where it stands: appended to in the transaction that moves it. `sequence` counts per device.
CREATE TABLE history (
    device      TEXT    NOT NULL REFERENCES device (id),
    sequence    INTEGER NOT NULL,
    rollout     TEXT    NOT NULL REFERENCES rollout (id),
    attempt     INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    from_state  TEXT,
    from_reason TEXT,
    to_state    TEXT    NOT NULL,
    to_reason   TEXT,
    note        TEXT    NOT NULL,
    PRIMARY KEY (device, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollout_history (
    rollout    TEXT    NOT NULL REFERENCES rollout (id),
    sequence   INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    from_state TEXT,
    to_state   TEXT    NOT NULL,
    note       TEXT    NOT NULL,
    PRIMARY KEY (rollout, sequence)
) STRICT, WITHOUT ROWID;

-- How many executions stand where. Only the triggers below write it, so it says what the rows say.
CREATE TABLE tally (
    rollout TEXT    NOT NULL REFERENCES rollout (id),
    state   TEXT    NOT NULL,
    count   INTEGER NOT NULL CHECK (count >= 0),
    PRIMARY KEY (rollout, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER execution_opened AFTER INSERT ON execution BEGIN
    INSERT INTO tally (rollout, state, count) VALUES (new.rollout, new.state, 1)
        ON CONFLICT (rollout, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER execution_moved AFTER UPDATE OF state ON execution WHEN old.state <> new.state BEGIN
    UPDATE tally SET count = count - 1 WHERE rollout = old.rollout AND state = old.state;
    INSERT INTO tally (rollout, state, count) VALUES (new.rollout, new.state, 1)
        ON CONFLICT (rollout, state) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER execution_removed AFTER DELETE ON execution BEGIN
    UPDATE tally SET count = count - 1 WHERE rollout = old.rollout AND state = old.state;
END;

-- When each device was last heard of: seconds since 1970, 0 for never, little-endian, 1024 devices to a page, by number.
CREATE TABLE last_seen (
    page INTEGER PRIMARY KEY,
    seen BLOB    NOT NULL
) STRICT;

-- Credentials. `hash` is the SHA-256 of what is presented: the token's text, the certificate (DER), the access key's ID,
-- the pre-shared key's identity. The secret itself is nowhere, but for the pre-shared keys that devices were made with: those
-- are in `psk` until they are revoked.
CREATE TABLE token (
    id       TEXT    PRIMARY KEY,
    hash     BLOB    NOT NULL CHECK (length(hash) = 32),
    form     TEXT    NOT NULL CHECK (form IN ('text', 'certificate', 'access_key', 'psk')),
    kind     TEXT    NOT NULL CHECK (kind IN ('device', 'product', 'operator')),
    subject  TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER,
    revoked  INTEGER,
    note     TEXT    NOT NULL,
    identity TEXT    CHECK (iif(form = 'psk', ifnull(length(identity), 0) BETWEEN 1 AND 128, identity IS NULL)),
    psk      BLOB    CHECK (psk IS NULL OR (form = 'psk' AND length(psk) BETWEEN 1 AND 64))
) STRICT, WITHOUT ROWID;

-- What is revoked may be presented anew: the identity of a device that gets another key.
CREATE UNIQUE INDEX token_presented ON token (hash) WHERE revoked IS NULL;

-- MQTT sessions that outlive their connection. `name` is the device, or the operator whose program it is; a device has one,
-- so its `client` is empty. `subscriptions` is a JSON list.
CREATE TABLE session (
    kind          TEXT    NOT NULL CHECK (kind IN ('device', 'application')),
    name          TEXT    NOT NULL,
    client        TEXT    NOT NULL,
    expiry        INTEGER NOT NULL,
    subscriptions TEXT    NOT NULL,
    PRIMARY KEY (kind, name, client)
) STRICT, WITHOUT ROWID;
