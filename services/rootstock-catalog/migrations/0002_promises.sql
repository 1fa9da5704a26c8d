-- What users add to what remotes give: images and aliases of their own, holds, applications, and the
-- marks that keep what was deleted from coming back.

ALTER TABLE images
    ADD COLUMN auto_update boolean NOT NULL DEFAULT false,
    ADD COLUMN user_public boolean,                                 -- what a user made of `public`, if anything
    ADD COLUMN user_expires_at timestamptz,                         -- a user's, over expires_at, which is the remote's
    ADD COLUMN origin_id text REFERENCES images ON DELETE SET NULL, -- an added image's synced image
    ADD COLUMN release text NOT NULL DEFAULT '',                    -- what an added image is pinned to
    ADD COLUMN ignored boolean NOT NULL DEFAULT false,              -- deleted by a user: its product is left out
    ADD COLUMN hold_version integer,                                -- newer versions are hidden
    ADD COLUMN hold_reason text NOT NULL DEFAULT '',
    ADD COLUMN hold_until timestamptz,
    ADD COLUMN held_at timestamptz,
    ADD COLUMN default_when_active boolean NOT NULL DEFAULT false,  -- asked to become the default, and is not active yet
    ADD COLUMN cached_at timestamptz,                               -- when a cached image was last asked to be here
    ADD COLUMN generation bigint NOT NULL DEFAULT 1,                -- grows with every change: the etag
    ADD CHECK (NOT ignored OR status = 4),
    ADD CHECK ((hold_version IS NULL) = (held_at IS NULL));
UPDATE images SET cached_at = now() WHERE cached;
CREATE INDEX images_cached ON images (id) WHERE cached;
CREATE INDEX images_by_origin ON images (origin_id) WHERE origin_id IS NOT NULL AND status <> 4;
CREATE INDEX images_active ON images (type, id) WHERE status = 3;
CREATE INDEX images_to_default ON images (type) WHERE default_when_active;
CREATE INDEX images_by_properties ON images USING gin (properties jsonb_path_ops) WHERE status <> 4;
CREATE INDEX images_held ON images (hold_until) WHERE hold_until IS NOT NULL;

ALTER TABLE versions
    ADD COLUMN delisted_at timestamptz,              -- went off the list without being deleted
    ADD COLUMN hidden boolean NOT NULL DEFAULT false, -- by a hold
    ADD COLUMN ignored boolean NOT NULL DEFAULT false, -- deleted by a user: its serial is left out
    ADD COLUMN request_id text NOT NULL DEFAULT '',   -- of the import that made it
    ADD CHECK (NOT ignored OR status = 4);
CREATE INDEX versions_deleted ON versions (deleted_at) WHERE status = 4;
CREATE UNIQUE INDEX versions_by_request ON versions (request_id) WHERE request_id <> '';

ALTER TABLE aliases
    ADD COLUMN user_made boolean NOT NULL DEFAULT false,
    ADD COLUMN version integer, -- pinned to this number; null: follows the newest
    ADD COLUMN description text NOT NULL DEFAULT '',
    ADD COLUMN generation bigint NOT NULL DEFAULT 1;

ALTER TABLE remotes
    ADD COLUMN disabled boolean NOT NULL DEFAULT false,
    ADD COLUMN version_constraint text NOT NULL DEFAULT '',
    ADD COLUMN auth text NOT NULL DEFAULT '', -- user:password or bearer:<token>
    ADD COLUMN generation bigint NOT NULL DEFAULT 1;

-- A try of a remote that is not there has no remote, and brings its own description.
ALTER TABLE sync_runs
    ALTER COLUMN remote_id DROP NOT NULL,
    ADD COLUMN remote bytea, -- rootstock.catalog.v1.Remote
    ADD CHECK ((remote_id IS NULL) = (remote IS NOT NULL));

-- A row holds its version: what it is made of stays readable, whatever becomes of the image.
CREATE TABLE applications (
    name text PRIMARY KEY,
    image_id text REFERENCES images ON DELETE SET NULL, -- null once the image was deleted
    version_id bigint NOT NULL REFERENCES versions,
    auto_update boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    generation bigint NOT NULL DEFAULT 1
);
CREATE INDEX applications_by_image ON applications (image_id);
CREATE INDEX applications_by_version ON applications (version_id);

-- Apart from images, so that a use writes no more than this.
CREATE TABLE image_uses (
    image_id text PRIMARY KEY REFERENCES images ON DELETE CASCADE,
    last_used_at timestamptz NOT NULL
);

-- Blobs that are being removed from the store. Their rows in `blobs` are gone; until theirs here is too,
-- nobody may store them again.
CREATE TABLE blob_removals (
    sha256 bytea PRIMARY KEY CHECK (length(sha256) = 32),
    size_bytes bigint NOT NULL,
    epoch bigint,                           -- of the collection's claim that has it to delete; null: none yet
    removed boolean NOT NULL DEFAULT false, -- gone from the store
    safe_at timestamptz                     -- until then a worker that lost its claim may yet delete it
);

CREATE TABLE webhooks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    url text NOT NULL,
    secret text NOT NULL,
    kinds integer[] NOT NULL,           -- rootstock.catalog.v1.ChangeKind; empty: all
    name_glob text NOT NULL,
    ca_pem text NOT NULL,
    disabled boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    generation bigint NOT NULL DEFAULT 1,
    delivered_revision bigint NOT NULL, -- up to here everything is delivered
    last_success_at timestamptz,
    ping boolean NOT NULL DEFAULT false -- one was asked for
);

DROP VIEW image_details;
-- Images as they are shown.
CREATE VIEW image_details AS
SELECT i.id, i.name, i.type, i.architecture, i.status, i.is_default, i.immutable, i.public, i.cached, i.remote_id,
    i.product, i.properties, coalesce(i.user_expires_at, i.expires_at) AS expires_at, i.created_at, i.version_count,
    i.newest_version, i.auto_update,
    i.origin_id, i.release, i.hold_version, i.hold_reason, i.hold_until, i.held_at, i.generation,
    coalesce(r.name, o_r.name) AS remote, coalesce(nullif(i.product, ''), o.product, '') AS source_product,
    v.fingerprint, u.last_used_at,
    ARRAY(SELECT a.name FROM aliases a WHERE a.image_id = i.id ORDER BY a.name) AS aliases,
    ARRAY(SELECT a.name FROM applications a WHERE a.image_id = i.id ORDER BY a.name) AS used_by
FROM images i
LEFT JOIN remotes r ON r.id = i.remote_id
LEFT JOIN images o ON o.id = i.origin_id
LEFT JOIN remotes o_r ON o_r.id = o.remote_id
LEFT JOIN versions v ON v.image_id = i.id AND v.number = i.newest_version
LEFT JOIN image_uses u ON u.image_id = i.id;

-- What needs a blob: one row for each need, with its BlobNeedReason and when it ends by itself. A blob
-- without a row here is collected: whoever asks whether one is needed, asks this.
CREATE FUNCTION blob_needs(blob bytea, stored_at timestamptz, grace interval)
RETURNS TABLE (reason smallint, version_id bigint, application text, until timestamptz)
LANGUAGE sql STABLE AS $$
    -- Versions that are active or to be; and those that were until less than the grace ago, whose files
    -- clients with an older index still ask for.
    SELECT CASE WHEN v.status IN (1, 2, 3, 6) THEN 1 ELSE 2 END::smallint, v.id, NULL::text,
        CASE WHEN v.status NOT IN (1, 2, 3, 6) THEN greatest(v.deleted_at, v.delisted_at) + grace END
    FROM artifacts a JOIN versions v ON v.id = a.version_id
    WHERE a.sha256 = blob
      AND (v.status IN (1, 2, 3, 6) OR greatest(v.deleted_at, v.delisted_at) > now() - grace)
    UNION ALL
    SELECT 3::smallint, p.version_id, p.name, NULL::timestamptz
    FROM artifacts a JOIN applications p ON p.version_id = a.version_id
    WHERE a.sha256 = blob
    UNION ALL
    -- Transfers and uploads that are to bring it.
    SELECT 4::smallint, NULL::bigint, NULL::text, NULL::timestamptz
    FROM work w WHERE w.kind IN (2, 9) AND w.subject = encode(blob, 'hex')
    UNION ALL
    SELECT 5::smallint, NULL::bigint, NULL::text, stored_at + grace WHERE stored_at > now() - grace
$$;

-- Looked for newer versions, expired and collected, from the first start on.
INSERT INTO work (kind, subject, due_at) VALUES (5, 'store', now()), (6, 'store', now()), (7, 'store', now());
