import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from app import create_app
from app.config import Settings

TOKEN = "a secret of Prometheus"


def test_prometheus_can_parse_the_metrics_and_each_has_a_help_text(client: FlaskClient) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {"extractor_jobs", "extractor_pages", "extractor_broker_up"} <= families.keys()
    assert all(name.startswith("extractor_") and family.documentation for name, family in families.items())


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 403), ("Bearer wrong", 403), (f"Basic {TOKEN}", 403), ("Bearer é", 403), (f"Bearer {TOKEN}", 200)],
)
def test_metrics_require_the_token_of_the_settings(settings: Settings, header: str | None, status: int) -> None:
    app = create_app(settings.model_copy(update={"metrics_token": TOKEN}))
    answer = app.test_client().get("/metrics", headers={"Authorization": header} if header else {})
    assert answer.status_code == status
    assert status == 200 or "METRICS_TOKEN" in answer.json["message"]
    app.extensions["services"].broker.close()
    app.extensions["services"].database.close()
