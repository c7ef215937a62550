"""PostgreSQL, the only state: the facade, one module of SQL per noun, and the migrations."""
