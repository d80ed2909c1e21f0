-- Devices that are registered by LwM2M. `record` is a JSON object, and the adapter's business. A device need not be known
-- to register.
CREATE TABLE lwm2m_registration (
    device TEXT PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What operators asked of single devices. `operation` and `outcome` are JSON; without an outcome it waits. A number is never
-- given twice, so whoever remembers one finds that order or none: hence AUTOINCREMENT.
CREATE TABLE lwm2m_order (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    device    TEXT    NOT NULL,
    operation TEXT    NOT NULL,
    path      TEXT    NOT NULL,
    by        TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    outcome   TEXT
) STRICT;
CREATE INDEX lwm2m_order_device ON lwm2m_order (device, number);
CREATE INDEX lwm2m_order_waiting ON lwm2m_order (number) WHERE outcome IS NULL;
