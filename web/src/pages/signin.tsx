import { Alert, Button, Card, Container, Group, PasswordInput, Stack, Title } from "@mantine/core";
import { useState, type FormEvent } from "react";
import { signIn } from "../api";
import { text } from "../text";

export function SignIn({ expired, onDone }: { expired: boolean; onDone: () => void }) {
  const [password, setPassword] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      const found = await signIn(password);
      if (found.ok) return onDone();
      setError(found.wait ? text.signIn.tooMany(found.wait) : text.signIn.wrong);
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Container size={420} py={80} component="main">
      <Card withBorder padding="xl" radius="md">
        <form onSubmit={(event) => void submit(event)}>
          <Stack>
            <Group gap="sm">
              <img src="./icon.svg" alt="" width={32} height={32} />
              <Title order={1} size="h3">
                {text.product}
              </Title>
            </Group>
            {expired && !error && (
              <Alert color="yellow" role="alert">
                {text.signIn.expired}
              </Alert>
            )}
            {error && (
              <Alert color="red" role="alert">
                {error}
              </Alert>
            )}
            <PasswordInput
              label={text.signIn.password}
              description={text.signIn.hint}
              value={password}
              onChange={(event) => setPassword(event.currentTarget.value)}
              autoComplete="current-password"
              autoFocus
              required
              withAsterisk={false}
            />
            <Button type="submit" loading={busy}>
              {text.signIn.button}
            </Button>
          </Stack>
        </form>
      </Card>
    </Container>
  );
}
