-- Usage by the month: partitions, so that old usage is dropped and not deleted; daily summaries, so that reports need not
-- read records; and what repeats from record to record stored once.

DROP TRIGGER usage_records_summarise ON usage_records;
DROP TRIGGER usage_records_reprice ON usage_records;
DROP FUNCTION usage_records_summarise();
DROP FUNCTION usage_records_reprice();
ALTER TABLE usage_records RENAME TO usage_records_unpartitioned;

-- What was called and where, a row for each combination. The id is a hash of the rest, so that every writer knows it
-- without asking.
CREATE TABLE usage_routes (
    id bigint NOT NULL PRIMARY KEY,
    model_id uuid,
    provider_id uuid,
    model_name text,
    endpoint text
);

INSERT INTO usage_routes (id, model_id, provider_id, model_name, endpoint)
SELECT row_number() OVER (), model_id, provider_id, model_name, endpoint
FROM (SELECT DISTINCT model_id, provider_id, model_name, endpoint FROM usage_records_unpartitioned) AS r;

-- No foreign keys here: what was used stays recorded when its key or model is deleted. Columns stand in the order in
-- which they waste no room. JSON that holds nothing is NULL.
CREATE TABLE usage_records (
    id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    model_id uuid,
    request_timestamp timestamptz NOT NULL,
    route_id bigint,
    prompt_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    cached_tokens bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    response_time_ms integer,
    price_version integer,
    status_code smallint,
    cost_usd numeric(20, 12),
    request_id text,
    error_message text,
    request_metadata json,
    response_metadata json,
    billable json,
    pricing_context json
) PARTITION BY RANGE (request_timestamp);

-- What belongs to no month that has a partition.
CREATE TABLE usage_records_default PARTITION OF usage_records DEFAULT;

-- A partition has unique keys of its own, which need not hold the timestamp as one of the whole table would. The key's
-- request id goes in as a hash, which takes half the room.
CREATE FUNCTION usage_records_make_unique(partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE UNIQUE INDEX %I ON %I (id)', partition || '_id', partition);
    EXECUTE format(
        'CREATE UNIQUE INDEX %I ON %I ((md5(api_key_id::text || request_id)::uuid)) WHERE request_id IS NOT NULL',
        partition || '_request', partition
    );
END
$$;

SELECT usage_records_make_unique('usage_records_default');

-- Makes the partition of a month (UTC), with what the default partition holds of it; false: it was there. Writers wait
-- meanwhile: one that had chosen the default partition already would find that its record does not belong there any more.
CREATE FUNCTION usage_records_add_partition(month date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
DECLARE
    starts timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    ends timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    partition text := 'usage_records_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY usage_records IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE usage_records_default IN ACCESS EXCLUSIVE MODE;
    IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE usage_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition);
    EXECUTE format(
        'WITH moved AS ('
            'DELETE FROM usage_records_default WHERE request_timestamp >= %L AND request_timestamp < %L RETURNING *'
        ') INSERT INTO %I SELECT * FROM moved', starts, ends, partition
    );
    PERFORM usage_records_make_unique(partition);
    EXECUTE format(
        'ALTER TABLE usage_records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', partition, starts, ends
    );
    RETURN true;
END
$$;

SELECT usage_records_add_partition(month)
FROM (
    SELECT DISTINCT date_trunc('month', request_timestamp AT TIME ZONE 'UTC')::date AS month
    FROM usage_records_unpartitioned
) AS months;

INSERT INTO usage_records
SELECT
    u.id, u.api_key_id, u.model_id, u.request_timestamp, r.id, u.prompt_tokens, u.completion_tokens, u.total_tokens,
    u.cached_tokens, u.reasoning_tokens, u.response_time_ms, u.price_version, u.status_code, u.cost_usd, u.request_id,
    u.error_message, nullif(u.request_metadata::text, '{}')::json, nullif(u.response_metadata::text, '{}')::json,
    u.billable, nullif(u.pricing_context::text, '{}')::json
FROM usage_records_unpartitioned AS u
JOIN usage_routes AS r
    ON (r.model_id, r.provider_id, r.model_name, r.endpoint)
    IS NOT DISTINCT FROM (u.model_id, u.provider_id, u.model_name, u.endpoint);

DROP TABLE usage_records_unpartitioned;

-- By the hour, not by the time itself: what is equal is stored once, so that an entry takes a seventh of the room. A page
-- sorts the records of an hour.
CREATE INDEX usage_records_api_key ON usage_records
    (api_key_id, date_trunc('hour', request_timestamp AT TIME ZONE 'UTC'));
CREATE INDEX usage_records_model ON usage_records
    (model_id, date_trunc('hour', request_timestamp AT TIME ZONE 'UTC'));
CREATE INDEX usage_records_unpriced ON usage_records (id) WHERE cost_usd IS NULL;

-- The same request may be tried again a moment later, in the next month and so in another partition, whose unique keys
-- know nothing of the first. So what lies within a day of a month's edge has its key in one table for all months.
CREATE TABLE usage_claims (
    claim uuid NOT NULL PRIMARY KEY,
    request_timestamp timestamptz NOT NULL
);

CREATE INDEX usage_claims_request_timestamp ON usage_claims (request_timestamp);

CREATE FUNCTION usage_records_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_claims (claim, request_timestamp)
    VALUES (coalesce(md5(NEW.api_key_id::text || NEW.request_id)::uuid, NEW.id), NEW.request_timestamp)
    ON CONFLICT DO NOTHING;
    RETURN CASE WHEN FOUND THEN NEW END;
END
$$;

INSERT INTO usage_claims (claim, request_timestamp)
SELECT DISTINCT ON (1) coalesce(md5(api_key_id::text || request_id)::uuid, id), request_timestamp
FROM usage_records
WHERE extract(day FROM request_timestamp AT TIME ZONE 'UTC') = 1
OR extract(day FROM (request_timestamp AT TIME ZONE 'UTC') + interval '1 day') = 1;

CREATE TRIGGER usage_records_claim BEFORE INSERT ON usage_records FOR EACH ROW
WHEN (
    extract(day FROM NEW.request_timestamp AT TIME ZONE 'UTC') = 1
    OR extract(day FROM (NEW.request_timestamp AT TIME ZONE 'UTC') + interval '1 day') = 1
)
EXECUTE FUNCTION usage_records_claim();

-- Records of months before this one were removed; their summaries stay. One row, or none.
CREATE TABLE usage_retention (
    id smallint NOT NULL PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    pruned_before timestamptz NOT NULL
);

-- Takes the partition of a month (UTC) and all of its records away, or, to keep them, detaches it under the name that is
-- given back. What lies in the default partition is deleted afterwards, bit by bit. Writers wait while it runs, so it gives
-- up soon where others hold the table, and is to be tried again.
CREATE FUNCTION usage_records_remove_partition(month date, keep boolean) RETURNS text LANGUAGE plpgsql
SET lock_timeout = '25ms' AS $$
DECLARE
    partition text := 'usage_records_' || to_char(month, 'YYYY_MM');
    kept text;
BEGIN
    LOCK TABLE ONLY usage_records IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (
        SELECT FROM pg_inherits
        WHERE inhparent = 'usage_records'::regclass AND inhrelid = to_regclass(quote_ident(partition))
    ) THEN
        IF keep THEN
            kept := partition || '_detached';
            EXECUTE format('ALTER TABLE usage_records DETACH PARTITION %I', partition);
            EXECUTE format('ALTER TABLE %I RENAME TO %I', partition, kept);
        ELSE
            EXECUTE format('DROP TABLE %I', partition);
        END IF;
    END IF;
    INSERT INTO usage_retention AS r (pruned_before)
    VALUES ((date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC')
    ON CONFLICT (id) DO UPDATE SET pruned_before = greatest(r.pruned_before, excluded.pruned_before);
    RETURN kept;
END
$$;

-- What a key used of a route on a day, UTC, by the hundreds of its status codes (0: none). Every report reads these.
CREATE TABLE daily_usage_summaries (
    day date NOT NULL,
    api_key_id uuid NOT NULL,
    route_id bigint NOT NULL,
    status_class smallint NOT NULL,
    total_requests bigint NOT NULL,
    unpriced_requests bigint NOT NULL,
    total_prompt_tokens bigint NOT NULL,
    total_completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    total_cached_tokens bigint NOT NULL,
    total_cost_usd numeric(38, 12) NOT NULL,
    last_request_at timestamptz,
    PRIMARY KEY (day, api_key_id, route_id, status_class)
) WITH (fillfactor = 70);

CREATE INDEX daily_usage_summaries_api_key ON daily_usage_summaries (api_key_id, day);

ALTER TABLE monthly_usage_summaries SET (fillfactor = 70);

INSERT INTO daily_usage_summaries
SELECT
    (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0), coalesce(status_code / 100, 0),
    count(*), count(*) - count(cost_usd), sum(prompt_tokens), sum(completion_tokens), sum(total_tokens),
    sum(cached_tokens), coalesce(sum(cost_usd), 0), max(request_timestamp)
FROM usage_records
GROUP BY 1, 2, 3, 4;

-- Adds to the daily and monthly summaries. Writers lock alike: the months before the days, both in order.
CREATE FUNCTION usage_summaries_add(days daily_usage_summaries[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO monthly_usage_summaries AS s (
        api_key_id, year, month, total_requests, unpriced_requests, total_prompt_tokens, total_completion_tokens,
        total_tokens, total_cost_usd, last_request_at, updated_at
    )
    SELECT
        api_key_id, extract(year FROM day)::integer AS year, extract(month FROM day)::integer AS month,
        sum(total_requests), sum(unpriced_requests), sum(total_prompt_tokens), sum(total_completion_tokens),
        sum(total_tokens), sum(total_cost_usd), max(last_request_at), now()
    FROM unnest(days)
    GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    ON CONFLICT (api_key_id, year, month) DO UPDATE SET
        total_requests = s.total_requests + excluded.total_requests,
        unpriced_requests = s.unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = s.total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = s.total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = s.total_tokens + excluded.total_tokens,
        total_cost_usd = s.total_cost_usd + excluded.total_cost_usd,
        last_request_at = greatest(s.last_request_at, excluded.last_request_at),
        updated_at = excluded.updated_at;

    INSERT INTO daily_usage_summaries AS s
    SELECT * FROM unnest(days) ORDER BY day, api_key_id, route_id, status_class
    ON CONFLICT (day, api_key_id, route_id, status_class) DO UPDATE SET
        total_requests = s.total_requests + excluded.total_requests,
        unpriced_requests = s.unpriced_requests + excluded.unpriced_requests,
        total_prompt_tokens = s.total_prompt_tokens + excluded.total_prompt_tokens,
        total_completion_tokens = s.total_completion_tokens + excluded.total_completion_tokens,
        total_tokens = s.total_tokens + excluded.total_tokens,
        total_cached_tokens = s.total_cached_tokens + excluded.total_cached_tokens,
        total_cost_usd = s.total_cost_usd + excluded.total_cost_usd,
        last_request_at = greatest(s.last_request_at, excluded.last_request_at);
$$;

-- What an INSERT added is in the summaries before the statement ends, whoever made it; what a conflict left out is in no
-- transition table and counts nowhere. Of a month whose records were removed nobody can tell any more what is new.
CREATE FUNCTION usage_records_summarise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM inserted AS i JOIN usage_retention AS r ON i.request_timestamp < r.pruned_before) THEN
        RAISE check_violation USING MESSAGE = 'request_timestamp: usage of that time was pruned, and takes no more records';
    END IF;
    PERFORM usage_summaries_add(ARRAY(
        SELECT ROW(
            (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0),
            coalesce(status_code / 100, 0), count(*), count(*) - count(cost_usd), sum(prompt_tokens),
            sum(completion_tokens), sum(total_tokens), sum(cached_tokens), coalesce(sum(cost_usd), 0),
            max(request_timestamp)
        )::daily_usage_summaries
        FROM inserted
        GROUP BY
            (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0),
            coalesce(status_code / 100, 0)
    ));
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_records_summarise AFTER INSERT ON usage_records
REFERENCING NEW TABLE AS inserted FOR EACH STATEMENT EXECUTE FUNCTION usage_records_summarise();

-- A record that is changed, as when it is priced anew, moves the sums in the same statement. What is deleted stays in the
-- sums: they outlive the records.
CREATE FUNCTION usage_records_resummarise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM usage_summaries_add(ARRAY(
        SELECT ROW(
            (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0),
            coalesce(status_code / 100, 0), sum(sign), coalesce(sum(sign) FILTER (WHERE cost_usd IS NULL), 0),
            sum(sign * prompt_tokens),
            sum(sign * completion_tokens), sum(sign * total_tokens), sum(sign * cached_tokens),
            coalesce(sum(sign * cost_usd), 0), max(request_timestamp)
        )::daily_usage_summaries
        FROM (SELECT 1 AS sign, * FROM updated UNION ALL SELECT -1 AS sign, * FROM outdated) AS u
        GROUP BY
            (request_timestamp AT TIME ZONE 'UTC')::date, api_key_id, coalesce(route_id, 0),
            coalesce(status_code / 100, 0)
    ));
    RETURN NULL;
END
$$;

CREATE TRIGGER usage_records_resummarise AFTER UPDATE ON usage_records
REFERENCING OLD TABLE AS outdated NEW TABLE AS updated FOR EACH STATEMENT EXECUTE FUNCTION usage_records_resummarise();
