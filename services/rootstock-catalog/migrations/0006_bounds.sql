-- What one message has no room for: the parts of a plan after the first, which stays in `sync_runs.plan`.
CREATE TABLE sync_run_plan_parts (
    run_id text NOT NULL REFERENCES sync_runs ON DELETE CASCADE,
    part integer NOT NULL CHECK (part > 0),
    payload bytea NOT NULL, -- rootstock.catalog.v1.Plan
    PRIMARY KEY (run_id, part)
);

-- Properties go with their image, unless its product may be taken up again.
UPDATE images SET properties = '{}' WHERE status = 4 AND NOT ignored AND properties <> '{}';

-- Of the applications that hold an image's versions, it shows the first hundred.
CREATE OR REPLACE VIEW image_details AS
SELECT i.id, i.name, i.type, i.architecture, i.status, i.is_default, i.immutable, i.public, i.cached, i.remote_id,
    i.product, i.properties, coalesce(i.user_expires_at, i.expires_at) AS expires_at, i.created_at, i.version_count,
    i.newest_version, i.auto_update,
    i.origin_id, i.release, i.hold_version, i.hold_reason, i.hold_until, i.held_at, i.generation,
    coalesce(r.name, o_r.name) AS remote, coalesce(nullif(i.product, ''), o.product, '') AS source_product,
    v.fingerprint, u.last_used_at,
    ARRAY(SELECT a.name FROM aliases a WHERE a.image_id = i.id ORDER BY a.name) AS aliases,
    ARRAY(SELECT a.name FROM applications a WHERE a.image_id = i.id ORDER BY a.name LIMIT 100) AS used_by
FROM images i
LEFT JOIN remotes r ON r.id = i.remote_id
LEFT JOIN images o ON o.id = i.origin_id
LEFT JOIN remotes o_r ON o_r.id = o.remote_id
LEFT JOIN versions v ON v.image_id = i.id AND v.number = i.newest_version
LEFT JOIN image_uses u ON u.image_id = i.id;
