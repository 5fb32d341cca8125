-- The relations that the tours browse and read. `TOPIC` is TABLE where the tours run against PostgreSQL.
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE SCHEMA shop;
CREATE TOPIC shop.customers (id BIGINT NOT NULL, name TEXT NOT NULL, country VARCHAR(2), joined DATE);
CREATE TOPIC shop.orders (id BIGINT NOT NULL, customer BIGINT NOT NULL, product TEXT DEFAULT 'none',
    price NUMERIC(10,2) CHECK (price >= 0), placed TIMESTAMPTZ, tags TEXT[], detail JSONB, express BOOLEAN DEFAULT false);
COMMENT ON TOPIC shop.orders IS 'what was sold';
COMMENT ON COLUMN shop.orders.price IS 'in euro';
INSERT INTO shop.customers VALUES (1, 'Ada', 'GB', '2020-01-31'), (2, 'Bohr', 'DK', '2021-02-28'), (3, 'Curie', 'FR', NULL);
INSERT INTO shop.orders VALUES
    (10, 1, 'lamp', 19.90, '2024-05-01 10:00:00+00', '{light,"warm, white"}', '{"size": 3, "in": ["hall"]}', true),
    (11, 1, 'desk', 250.00, '2024-05-02 11:30:00.123456+00', '{}', '{"size": 120}', false),
    (12, 2, 'chair', 75.50, '2024-05-02 12:00:00+00', NULL, NULL, false),
    (13, 3, 'lamp', 19.90, '2024-05-03 00:00:00+00', '{light}', '{}', NULL);
CREATE VIEW shop.dear AS SELECT id, product, price FROM shop.orders WHERE price > 50;
CREATE MATERIALIZED VIEW shop.spending AS
    SELECT customer, count(*) AS orders, sum(price) AS total FROM shop.orders GROUP BY customer;
