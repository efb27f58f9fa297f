-- The shop's database: the same rows every time.
\set ON_ERROR_STOP on
\getenv shop_password SHOP_PASSWORD
create role shop login password :'shop_password';
create database shop owner shop;
\connect shop
create extension amcheck;
create extension pageinspect;
set role shop;

create table customers (
    id integer primary key,
    name text not null,
    email text not null unique,
    since date not null
);
create table products (
    id integer primary key,
    name text not null unique,
    price numeric(10, 2) not null check (price > 0),
    image text not null
);
create table orders (
    id integer primary key,
    customer_id integer not null references customers,
    product_id integer not null references products,
    quantity integer not null check (quantity between 1 and 9),
    amount numeric(12, 2) not null check (amount > 0),
    placed_at timestamptz not null,
    note text not null
);

insert into customers
select n, 'Customer ' || n, 'customer' || n || '@example.invalid', date '2019-01-01' + (n * 11 % 1800)
from generate_series(1, 300) n;

insert into products
select n, 'Product ' || to_char(n, 'FM000'), 4.90 + (n * 37 % 90) + (n % 4) * 0.25,
       'catalog/' || (n - 1) / 10 || '/image-' || to_char(n - 1, 'FM000') || '.bin'
from generate_series(1, 40) n;

insert into orders
select o.n, o.n * 7919 % 300 + 1, p.id, o.n % 9 + 1, (o.n % 9 + 1) * p.price,
       timestamptz '2024-01-01 08:00+00' + o.n * interval '97 minutes',
       'delivery ' || md5(o.n::text) || md5((o.n * 31)::text)
from generate_series(1, 5000) o(n) join products p on p.id = o.n * 104729 % 40 + 1
order by o.n;

create index orders_by_customer on orders (customer_id);
create index orders_by_day on orders (placed_at);
analyze;
